"""A stand-in for the Anthropic Messages API: a server on the wire whose answers are scripted."""
