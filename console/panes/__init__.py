"""One pane a file: draws one part of a Frame; may import widgets."""
