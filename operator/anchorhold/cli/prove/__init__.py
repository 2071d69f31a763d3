"""`kubectl anchorhold prove`: the boundary, attacked on the user's own cluster.

`claims.yaml` says what is claimed; `probes` is what hostile agents do inside; the modules here
look at the effects from outside, beside the same attempts without the fence; `verdict` judges.
"""
