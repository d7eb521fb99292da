-- The pages for those who come from asyncio, and from other libraries: the first
-- has all names of asyncio, and what they name of ours is there, or is said not to
-- be.
--
-- SPDX-License-Identifier: MIT

local aio = require "perilune"
local docs = dofile "docs/generate.lua"

local page = docs.read "docs/asyncio.md"
local others = docs.read "docs/others.md"

-- asyncio.__all__ of Python 3.11 with what came later, and the public methods.
local NAMES = [[
  ALL_COMPLETED AbstractChildWatcher AbstractEventLoop
  AbstractEventLoopPolicy AbstractServer Barrier BaseEventLoop BaseProtocol
  BaseTransport BoundedSemaphore BrokenBarrierError BufferedProtocol
  CancelledError Condition DatagramProtocol DatagramTransport
  DefaultEventLoopPolicy Event FIRST_COMPLETED FIRST_EXCEPTION
  FastChildWatcher Future Handle IncompleteReadError InvalidStateError
  LifoQueue LimitOverrunError Lock MultiLoopChildWatcher PidfdChildWatcher
  PriorityQueue Protocol Queue QueueEmpty QueueFull QueueShutDown
  ReadTransport Runner SafeChildWatcher SelectorEventLoop Semaphore
  SendfileNotAvailableError Server StreamReader StreamReaderProtocol
  StreamWriter SubprocessProtocol SubprocessTransport Task TaskGroup
  ThreadedChildWatcher Timeout TimeoutError TimerHandle Transport
  WriteTransport _enter_task _get_running_loop _leave_task _register_task
  _set_running_loop _unregister_task abort add_done_callback add_reader
  add_signal_handler add_writer all_tasks as_completed at_eof broken
  buffer_updated call_at call_exception_handler call_later call_soon
  call_soon_threadsafe can_write_eof cancel cancelled cancelling
  capture_call_graph close communicate connect_accepted_socket
  connect_read_pipe connect_write_pipe connection_lost connection_made
  create_connection create_datagram_endpoint create_future create_server
  create_subprocess_exec create_subprocess_shell create_task
  create_unix_connection create_unix_server current_task data_received
  datagram_received default_exception_handler done drain eager_task_factory
  empty ensure_future eof_received error_received exception expired
  feed_data feed_eof full gather get get_buffer get_child_watcher get_coro
  get_debug get_event_loop get_event_loop_policy get_exception_handler
  get_extra_info get_loop get_name get_nowait get_protocol get_running_loop
  get_stack get_task_factory get_write_buffer_limits get_write_buffer_size
  getaddrinfo getnameinfo is_closed is_closing is_reading is_running
  is_serving iscoroutine iscoroutinefunction isfuture join maxsize n_waiting
  new_event_loop notify notify_all open_connection open_unix_connection
  parties pause_reading pause_writing pipe_connection_lost
  pipe_data_received print_call_graph print_stack process_exited put
  put_nowait qsize read readexactly readline readuntil remove_done_callback
  remove_reader remove_signal_handler remove_writer reschedule reset result
  resume_reading resume_writing returncode run run_coroutine_threadsafe
  run_forever run_in_executor run_until_complete send_signal sendfile sendto
  serve_forever set_child_watcher set_debug set_default_executor
  set_event_loop set_event_loop_policy set_exception set_exception_handler
  set_name set_protocol set_result set_task_factory set_transport
  set_write_buffer_limits shield shutdown_asyncgens
  shutdown_default_executor sleep sock_accept sock_connect sock_recv
  sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile
  sock_sendto sockets start_server start_serving start_tls start_unix_server
  stop subprocess_exec subprocess_shell task_done terminate time timeout
  timeout_at to_thread transport uncancel wait wait_closed wait_for when
  wrap_future write write_eof writelines
]]

-- Looks up "context.var" in our table.
local function find(path)
  local value = aio
  for name in path:gmatch "[%w_]+" do
    value = type(value) == "table" and value[name] or nil
  end
  return value
end

-- What a page names of ours, and should not: it is not there, or said not to be.
local function wrong_names(text)
  local wrong = {}
  for path, after in text:gmatch "`aio%.([%w_.]+)[^`\n]*`([^\n|]*)" do
    if (after:find "^ not yet" ~= nil) == (find(path) ~= nil) then
      wrong[#wrong + 1] = path
    end
  end
  return table.concat(wrong, " ")
end

local function headings_without_program(text)
  local programs, without = {}, {}
  local heading
  for line in text:gmatch "[^\n]+" do
    heading = line:match "^## (.*)" or heading
    if heading then
      programs[heading] = programs[heading] or line == "```lua"
    end
  end
  for name, has in pairs(programs) do
    without[#without + 1] = not has and name or nil
  end
  return table.concat(without, ", ")
end

describe("docs/asyncio.md", function()
  it("has every name of asyncio", function()
    local missing, n = {}, 0
    for name in NAMES:gmatch "%S+" do
      n = n + 1
      if not page:find("%f[%w_]" .. name .. "%f[^%w_]") then
        missing[#missing + 1] = name
      end
    end
    assert.is_true(n > 200, n)
    assert.equal("", table.concat(missing, " "))
  end)

  it("names what there is, and says 'not yet' of what is not", function()
    assert.equal("", wrong_names(page))
  end)

  it("has a program under every heading", function()
    assert.equal("", headings_without_program(page))
  end)
end)

describe("docs/others.md", function()
  it("names what there is, and says 'not yet' of what is not", function()
    assert.equal("", wrong_names(others))
  end)

  it("has a program under every heading", function()
    assert.equal("", headings_without_program(others))
  end)
end)
