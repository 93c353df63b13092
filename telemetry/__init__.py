"""What the processes of the service tell about themselves: logs, and traces where asked for."""
