"""How a reply is thought: the model, its tools and the loop between them. Knows no database and no user."""
