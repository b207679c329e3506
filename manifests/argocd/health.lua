-- Health of an LLMDeployment for Argo CD, which takes an object of a kind it does not know for healthy as soon as it
-- exists. docs/install.md says how to give it to Argo CD.
local health = { status = "Progressing", message = "llmfleet has not looked at it yet" }
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
health.message = status.summary or ""
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" and condition.type == "Stalled" then
    health.status = "Degraded"
    return health
  end
  if condition.status == "True" and condition.type == "Ready" then
    health.status = "Healthy"
  end
  if condition.status == "True" and condition.type == "Paused" and health.status ~= "Healthy" then
    health.status = "Suspended"
  end
end
return health
