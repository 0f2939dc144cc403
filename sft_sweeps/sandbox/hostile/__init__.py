"""Programs that attack the sandbox, by what they are after."""
