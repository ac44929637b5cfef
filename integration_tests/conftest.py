"""User files are run by test_user_files.py; they are no modules to search for doctests."""

collect_ignore_glob = ["user_files/*"]
