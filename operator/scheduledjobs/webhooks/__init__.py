"""The door to webhooks: the operator's own, told of what became of executions."""
