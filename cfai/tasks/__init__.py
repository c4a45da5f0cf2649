"""Per task: inputs checked with Cloudflare's wording, outputs shaped."""
