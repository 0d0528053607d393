-- What an LLMCache's conditions come to, by the one that matters most.
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has yet to look at it"}
end

local holding = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    holding[condition.type] = condition
  end
end

local trouble = holding.Stalled or holding.Degraded
if trouble then
  return {status = "Degraded", message = trouble.reason .. ": " .. trouble.message}
end

local work = holding.Reconciling
if work then
  local reason = (status.rollout or {}).reason
  local waits = work.reason == "PrefixPaused" and (reason == "PausedByHand" or reason == "WaitingForPromotion")
  return {status = waits and "Suspended" or "Progressing", message = work.message}
end

if holding.Ready then
  return {status = "Healthy", message = holding.Ready.message}
end
return {status = "Progressing", message = "no gateway is ready"}
