"""Does the checker tell safe compositions from unsafe ones?"""
