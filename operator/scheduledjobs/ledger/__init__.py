"""Read-only questions about the execution log, for CLI and REST alike."""
