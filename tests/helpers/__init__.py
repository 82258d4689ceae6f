"""What several tests share; nothing outside tests/ imports it."""
