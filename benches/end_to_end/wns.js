// Sends notifications with the npm package `wns`, 32 in flight: node wns.js CHANNEL COUNT TOKEN
'use strict';
const https = require('https');
const wns = require('wns');

const [channel, count, accessToken] = process.argv.slice(2);
// The package knows port 443 only.
const request = https.request;
https.request = (target, answered) => request({ ...target, port: new URL(channel).port }, answered);
https.globalAgent.keepAlive = true;
https.globalAgent.maxSockets = 32;
const options = { client_id: 'ms-app://S-1-15-2-1', client_secret: 'secret', accessToken };
let started = 0;
let done = 0;

function next() {
  if (started >= Number(count)) return;
  started += 1;
  wns.sendRaw(channel, 'wake', options, (error) => {
    if (error) {
      console.error(error);
      process.exit(1);
    }
    done += 1;
    if (done === Number(count)) process.exit(0);
    next();
  });
}

for (let i = 0; i < 32; i += 1) next();
