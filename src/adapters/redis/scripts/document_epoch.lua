-- Notes that documents have changed. KEYS: 1 store. Answer: the epoch.
return redis.call('HINCRBY', KEYS[1], 'epoch', 1)
