"""What every stage may import: errors, array helpers, host linear algebra."""
