--- Seeing who is alive: the tasks as a tree.
--
-- SPDX-License-Identifier: MIT

local core = require "perilune.core"

local tree = {}

local function is_older(a, b)
  return a.id < b.id
end

--- The tasks that have not ended, as a tree, older ones first. Never waits.
-- @return list of the tasks without a parent task; each a table as of
--   `task:info()`, with `task` and `children`
function tree.tree()
  local roots, nodes = {}, {}
  for i, task in ipairs(core.tasks()) do
    local node = task:info()
    node.task, node.children = task, {}
    nodes[i], nodes[task] = node, node
  end
  table.sort(nodes, is_older)
  for _, node in ipairs(nodes) do
    local parent = node.parent and nodes[node.parent]
    local siblings = parent and parent.children or roots
    siblings[#siblings + 1] = node
  end
  return roots
end

return tree
