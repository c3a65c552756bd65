"""What figures and tables share: style, panels, curves, text, captions, published numbers. Free of torch."""
