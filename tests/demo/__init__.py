"""`make demo`: one untrusted agent in one sealed Pod, from nothing, on a real node."""
