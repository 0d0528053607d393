-- What a person can do about the rollout of an LLMCache's prefix version now.
local status = obj.status or {}
local rollout, prefix = status.rollout or {}, status.prefix or {}
local current = status.observedGeneration == obj.metadata.generation
local staged = current and (rollout.phase == "Warming" or rollout.phase == "Canary" or rollout.phase == "Paused")
local promoting = current and rollout.phase == "Promoting"
local held = rollout.reason == "PausedByHand"

return {
  promote = {disabled = not staged, iconClass = "fa fa-fw fa-forward"},
  pause = {disabled = not staged or held, iconClass = "fa fa-fw fa-pause"},
  resume = {disabled = not (staged and held), iconClass = "fa fa-fw fa-play"},
  abort = {disabled = not ((staged or promoting) and prefix.active ~= nil), iconClass = "fa fa-fw fa-undo"},
}
