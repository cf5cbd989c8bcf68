"""The contract: types and fields. Each field calls one resolver and converts its rows."""
