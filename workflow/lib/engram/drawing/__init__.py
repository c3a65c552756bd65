"""What figures and tables share: style, panels, curves, running text, captions, published numbers."""
