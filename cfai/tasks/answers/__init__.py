"""Answers that no model made, task by task: true to the schema, and to what programs rely on."""
