"""The shell: the order of effects, and nothing else. What happens next is decided in the core."""
