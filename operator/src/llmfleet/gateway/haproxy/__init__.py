"""HAProxy as the data plane: its file, its runtime API, and what lies between what it does and what it shall do."""
