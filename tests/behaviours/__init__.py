"""What can be seen from outside, sentence by sentence, through the public API alone."""
