"""The models behind the Anthropic Messages API: what is asked, what an answer says, and how it fails."""
