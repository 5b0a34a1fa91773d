"""S3: buckets as a source of images and as a store; the only place that imports botocore."""
