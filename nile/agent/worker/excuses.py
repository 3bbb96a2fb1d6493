"""Why a worker can't do what it is asked to, in words."""


def where(error: Exception) -> str:
    """What went wrong, and where."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = "%s:%d" % (at.tb_frame.f_code.co_filename, at.tb_lineno) if at is not None else ""
    return "%s: %s (%s)" % (type(error).__name__, error, place)
