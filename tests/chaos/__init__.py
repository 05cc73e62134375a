"""`make chaos`: minutes of workflows in two clusters that are killed, stopped and starved in every way, and a ledger."""
