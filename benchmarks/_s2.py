import sys
sys.path.insert(0,'.')
from benchmarks import soak, troubles
orig=troubles.Troubles.__init__
def init(self,*a):
    orig(self,*a); self._troubles=[self.kill,self.kill,self.restore,self.restore,self.empty]
troubles.Troubles.__init__=init
if __name__=="__main__":
    sys.exit(soak.main(sys.argv[1:]))
