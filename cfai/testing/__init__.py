"""What tests are written with: assertions on streams, fuzzing of parsers, and what fixtures are made of."""
