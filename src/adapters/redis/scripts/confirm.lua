-- Writes something that replicas can be waited for with. KEYS: 1 meta.
return redis.call('HINCRBY', KEYS[1], 'confirmed', 1)
