def draw(record, folder):
    return []
