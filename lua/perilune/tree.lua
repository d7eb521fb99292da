--- Seeing who is alive: the tasks as a tree.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"

local tree = {}

--- The tasks that have not ended, as a tree. Never waits.
-- @return list of the tasks without a parent task; each a table as of
--   `task:info()`, with `task` and `children`
function tree.tree()
  local roots, nodes = {}, {}
  local tasks = core.tasks()
  for _, task in ipairs(tasks) do
    local node = task:info()
    node.task, node.children = task, {}
    nodes[task] = node
  end
  for _, task in ipairs(tasks) do
    local node = nodes[task]
    local parent = node.parent and nodes[node.parent]
    local siblings = parent and parent.children or roots
    siblings[#siblings + 1] = node
  end
  return roots
end

return tree
