"""What every transport does, against a real sshd: the same tests for each of them."""
