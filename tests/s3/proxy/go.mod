module pomona/tests/s3/proxy

go 1.21
