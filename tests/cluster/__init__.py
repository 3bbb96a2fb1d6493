"""Nile over real sshd, in labs of network namespaces."""

import pytest

pytest.register_assert_rewrite("tests.cluster.striking", "tests.cluster.running")
