"""Events, journal, fold, engine, clock, ids, money; imports utils alone."""
