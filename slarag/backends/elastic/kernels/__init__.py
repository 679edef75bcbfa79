"""What is compiled for the machine that it runs on; without a compiler everything works, more slowly."""
