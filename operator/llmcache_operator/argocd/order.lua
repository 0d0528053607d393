-- Tells the operator what to do about the rollout that is under way, by the annotation that it reads.
local target = ((obj.status or {}).prefix or {}).target
if target == nil then
  error("the operator has yet to look at it")
end
local annotations = obj.metadata.annotations or {}
local order = verb .. "@" .. target
if annotations["llmcache.dev/rollout"] == order then
  -- An order is obeyed once. Without the version it is another one, and means the rollout that is under way.
  order = verb
end
annotations["llmcache.dev/rollout"] = order
obj.metadata.annotations = annotations
return obj
