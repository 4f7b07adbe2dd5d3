"""What a service shows of itself: metrics and health over HTTP, and traces. Off unless it is configured."""
