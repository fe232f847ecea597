"""What builds and checks the course; nothing here is installed with the package."""
