"""What one feature leaves for another in the scope of a request.

The cache, the limits and the sessions do not know of each other: these keys are all they share.
"""

RESULT = "cachemw.result"
"""What became of a request at the cache: `hit`, `stale`, `miss` or `bypass`. Set before the answer
begins; what a limit charges may depend on it."""

ASKED_BY = "cachemw.asked_by"
"""The request as it came, where the app makes a page for everybody and is not told who asks: limits
count that one. None where nobody asks, as an entry is refreshed: nobody is charged."""

SESSION_USED = "cachemw.session_used"
"""True once an answer depends on its session, which is before it begins: nobody keeps it then."""

SESSIONS_MET = "cachemw.sessions_met"
"""A list, where the app makes a page for everybody. Who has a session for it puts in what has that
`session`, which says whether it was `accessed`: layers in between may have copied the scope."""
