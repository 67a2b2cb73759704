"""What the tests stand on: the server under test, the fixtures' truth, and reading answers with no sharing client."""
