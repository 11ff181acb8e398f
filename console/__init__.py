"""What a person sees; imports trader, holds no trading state of its own."""
