"""The process: settings, tokens, transports, and the one place that joins the rooms."""
