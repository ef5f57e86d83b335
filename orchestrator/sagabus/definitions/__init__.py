"""The workflow language: files in, compiled definitions out, every mistake named with its line."""
