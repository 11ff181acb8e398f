"""The stages, one file each: ``settings(context)`` says what decides the result, ``run(context)`` makes it."""
