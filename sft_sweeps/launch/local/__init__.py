"""The launcher of this machine: processes side by side, with progress."""
