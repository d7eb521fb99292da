--- How `make test` reports: a dot for each case that passes, an "s" for one
-- that is skipped, a block of lines for each that fails, and one closing line
-- that a person and a program can read:
--
--   123 passed, 0 failed, 2 skipped
--
-- Errors (in a case, in a set-up step, in loading a file) count as failures.
-- A run without a single case fails as well: a mistyped path must not pass.
--
-- SPDX-License-Identifier: MIT

local busted = require "busted"
local base = require "busted.outputHandlers.base"

local WIDTH = 72

return function(options)
  local handler = base()
  local counts = { passed = 0, failed = 0, skipped = 0 }
  local column = 0

  local function write(text)
    io.stdout:write(text)
    io.stdout:flush()
  end

  local function mark(char)
    column = column + 1
    write(char)
    if column == WIDTH then
      column = 0
      write("\n")
    end
  end

  -- Blocks start on a line of their own.
  local function block(text)
    write((column > 0 and "\n" or "") .. text .. "\n")
    column = 0
  end

  local function where(element, trace)
    local at = element.trace or trace
    if at and at.short_src and at.currentline then
      return at.short_src .. ":" .. at.currentline .. ": "
    end
    return ""
  end

  local function indent(text)
    return "    " .. text:gsub("\n", "\n    ")
  end

  local function fail(kind, element, message, trace)
    counts.failed = counts.failed + 1
    local text = kind .. " " .. where(element, trace)
      .. handler.getFullName(element) .. "\n"
      .. indent(message == nil and "(no message)" or tostring(message))
    if options.verbose and trace and trace.traceback then
      text = text .. "\n" .. indent(trace.traceback)
    end
    block(text)
  end

  function handler.testEnd(_, _, status)
    if status == "success" then
      counts.passed = counts.passed + 1
      mark(".")
    elseif status == "pending" then
      counts.skipped = counts.skipped + 1
      mark("s")
    end
    return nil, true
  end

  -- These two come for cases as well as for all else that can go wrong. A case
  -- that fails in several places is heard each time; more failures than cases
  -- is better than fewer.
  function handler.failure(element, _, message, trace)
    fail("FAILED", element, message, trace)
    return nil, true
  end

  function handler.error(element, _, message, trace)
    fail("ERROR", element, message, trace)
    return nil, true
  end

  function handler.suiteEnd()
    for _, skipped in ipairs(handler.pendings) do
      -- The reason, where one is given, begins with the position.
      block("skipped " .. (skipped.message and tostring(skipped.message)
        or where(skipped.element, skipped.trace))
        .. " (" .. skipped.name .. ")")
    end
    if counts.passed + counts.failed + counts.skipped == 0 then
      counts.failed = 1
      block("ERROR no case was run")
    end
    block(("%d passed, %d failed, %d skipped"):format(counts.passed,
      counts.failed, counts.skipped))
    return nil, true
  end

  -- busted looks only at its own events to choose the exit status. This is the
  -- last event, and the state is closed so that a leak checker sees its end.
  function handler.exit()
    if counts.failed > 0 then
      os.exit(1, true)
    end
    return nil, true
  end

  busted.subscribe({ "test", "end" }, handler.testEnd,
    { predicate = handler.cancelOnPending })
  busted.subscribe({ "failure" }, handler.failure)
  busted.subscribe({ "error" }, handler.error)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  busted.subscribe({ "exit" }, handler.exit)

  return handler
end
