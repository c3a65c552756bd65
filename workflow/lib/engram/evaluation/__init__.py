"""Arithmetic on tables of outcomes, without a model: ES, PS, NS, GE, RS, effects of restorations, their intervals."""
