module anchorhold.dev/onenode/pause

go 1.26.0
