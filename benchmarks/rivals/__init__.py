"""The servers that Loquent is measured against; they keep nothing and know no users."""
